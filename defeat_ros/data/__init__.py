"""Sources of frames: messages, bags, folders, videos and the rendered night drive."""
