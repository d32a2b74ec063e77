#!/usr/bin/env bash
# Collects in gpu_wheels/ what `make gpu` needs on a machine with torch, torchvision, timm, OpenCV, SciPy,
# scikit-image, scikit-learn, matplotlib and pytest, and without a network: OpenMMLab's packages and their small needs. Usage: tools/gpu_bundle.sh [PYTHON]
# PYTHON is that machine's version (default: 3.12). Versions are those of constraints.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-3.12}
packages="mmengine mmcv-lite mmdet mmsegmentation addict yapf platformdirs termcolor ftfy wcwidth prettytable terminaltables
pycocotools shapely rich regex msgspec defusedxml supervision"
rm -rf gpu_wheels
"${PYTHON:-python3}" -m pip download --quiet --no-deps --only-binary=:all: --python-version "$python" \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    -c constraints.txt -d gpu_wheels $packages
size=$(du -sm gpu_wheels | cut -f1)
echo "gpu_wheels: $(ls gpu_wheels | wc -l) wheels, $size MiB"
if [ "$size" -ge 60 ]; then
    echo "expected less than 60 MiB" >&2
    exit 1
fi
