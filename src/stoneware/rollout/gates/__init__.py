"""The gates that come with Stoneware."""
