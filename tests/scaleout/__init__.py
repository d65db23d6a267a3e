"""`make scaleout`: the night on one worker host, on two, and on two of which one loses its link."""
