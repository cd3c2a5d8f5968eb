"""The demonstration: a rendered night drive through the live node, measured and pictured."""
