"""The columns of the arrays that the renderer reads: shapes, lights, scene constants; and the material numbers."""

from __future__ import annotations

# Shapes: one row each. Local frame: x along the yaw, z up; boxes and cylinders stand on z = 0 of theirs.
KIND, X, Y, Z, COS, SIN = 0, 1, 2, 3, 4, 5
HX, HY, H = 6, 7, 8  # half length, half width, height (radii of an ellipsoid; radius, half width of a wheel)
T_FRONT, T_REAR, T_SIDE = 9, 10, 11  # how far the faces lean in at the top, m
MATERIAL, SEED, RED, GREEN, BLUE = 12, 13, 14, 15, 16
P0, P1, P2, P3 = 17, 18, 19, 20  # meaning depends on the material
SHAPE_COLUMNS = 21

BOX, CYLINDER, WHEEL, ELLIPSOID = 0, 1, 2, 3

PLAIN, FACADE, ROOF, CAR, CABIN, TYRE, BARK, LEAF, METAL = 0, 1, 2, 3, 4, 5, 6, 7, 8
LAMP, SIGN, BRICK, FENCE, HEDGE, CLOTH, SIGNAL, COACH = 9, 10, 11, 12, 13, 14, 15, 16

# Faces of a hit.
FRONT, REAR, LEFT, RIGHT, TOP, BOTTOM, ROUND = 1, 2, 3, 4, 5, 6, 7
ROAD, PAVEMENT, KERB, SKY = -1, -2, -3, -9

# Lights: position, radiant intensity per colour, direction, cosines of the cone's rim and core, reach (m).
L_X, L_Y, L_Z, L_R, L_G, L_B, L_DX, L_DY, L_DZ, L_RIM, L_CORE, L_REACH = range(12)
LIGHT_COLUMNS = 12

# Scene constants.
(
    G_NIGHT, G_SUNX, G_SUNY, G_SUNZ, G_SUN, G_AMB_R, G_AMB_G, G_AMB_B, G_HAZE, G_CLOUD, G_WET, G_LIT,
    G_HALF, G_WALK, G_LANE, G_SEED, G_PIXEL, G_EDGE, G_BASE_X, G_BASE_Y, G_YAW_C, G_YAW_S, G_BEAM, G_CONTRAST,
    G_GRID_X, G_GRID_Y, G_SHADE_X, G_SHADE_Y, G_SIDE, G_GLOW_R, G_GLOW_G, G_GLOW_B, G_BEAM_Z, G_PITCH,
    G_HILLS, G_GROUND,
) = range(36)  # fmt: skip
SCENE_SIZE = 36

LAMPS_AHEAD = 3.5  # of the camera car's base, its head lamps, m
GRID_CELL, GRID_SIZE = 6.0, 64  # nearest road sample around the camera
SHADE_CELL, SHADE_SIZE = 4.0, 64  # what may throw a shadow, by cell
GLOW_CELL, GLOW_SIZE = 16.0, 16  # which lights reach a cell; the same square as that of the shadows
