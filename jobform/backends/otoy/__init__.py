"""OTOY's compute marketplace, the Render Network's, whose API is called Dispersed."""
