"""Programs that paint the demo's styles and draw its guides, each from a fixed seed."""
