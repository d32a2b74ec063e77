# Trains and evaluates. On CPUs:
#   docker build -t mmvit-train -f docker/train.Dockerfile .
# On NVIDIA GPUs, with the container toolkit on the host (docker run --gpus all):
#   docker build -t mmvit-train -f docker/train.Dockerfile \
#     --build-arg BASE=nvidia/cuda:13.0.1-base-ubuntu24.04 --build-arg TORCH=https://pypi.org/simple .
# docker run --rm --shm-size 8g -v "$PWD:/work" mmvit-train train retinanet_pvt_small_coco --demo
ARG BASE=python:3.11-slim
FROM ${BASE}
# Besides PyPI, where torch brings CUDA with it: builds for CPUs, a tenth as large, which pip prefers (2.14.1+cpu to 2.14.1).
ARG TORCH=https://download.pytorch.org/whl/cpu
ARG STACK=openmmlab
ENV PATH=/opt/mmvit/bin:$PATH PIP_NO_CACHE_DIR=1
# An image with Python has venv; Debian's and Ubuntu's own Python get it here.
RUN python3 -c 'import venv, ensurepip' || (apt-get update && apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*)
RUN python3 -m venv /opt/mmvit
COPY constraints.txt /tmp/
RUN pip install --extra-index-url "$TORCH" -c /tmp/constraints.txt torch torchvision
COPY . /tmp/mmvit
# mmcv asks for opencv-python, which needs the system's libGL; the headless build of the same modules needs nothing.
RUN pip install -c /tmp/constraints.txt "/tmp/mmvit[$STACK,demo,tensorboard]" \
    && pip install --force-reinstall --no-deps -c /tmp/constraints.txt opencv-python-headless \
    && rm -r /tmp/mmvit
WORKDIR /work
ENTRYPOINT ["mmvit"]
CMD ["doctor"]
