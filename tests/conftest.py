"""Tests find each other's helpers by plain names: each folder with helpers is on the path."""

import sys
from pathlib import Path

for folder in ("simulation", "doors"):
    sys.path.append(str(Path(__file__).parent / folder))
