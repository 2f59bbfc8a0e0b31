"""The user's own checkout of an original repository as the side that judges ours."""
