"""`python -m xfusion_bluesky.cli`."""

from . import main

main()
