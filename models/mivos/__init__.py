"""MiVOS: interactive video object segmentation in three networks and the state over a video that joins them."""
