"""Generated from proto/ by scripts/generate-python. Not to be edited."""
