# Trains and evaluates. With torch as pip finds it, for NVIDIA GPUs and CPUs alike:
#   docker build -t mmvit-train -f docker/train.Dockerfile .
# On GPUs, with the container toolkit on the host (docker run --gpus all), add --build-arg BASE=nvidia/cuda:13.0.1-base-ubuntu24.04.
# For CPUs alone, --build-arg TORCH=URL with torch's index of CPU builds (its installation page has the address) makes the image
# a tenth as large: pip prefers 2.14.1+cpu to 2.14.1.
# docker run --rm --shm-size 8g -v "$PWD:/work" mmvit-train train retinanet_pvt_small_coco --demo
ARG BASE=python:3.11-slim
FROM ${BASE}
ARG TORCH=
ARG STACK=openmmlab
ENV PATH=/opt/mmvit/bin:$PATH PIP_NO_CACHE_DIR=1
# An image with Python has venv; Debian's and Ubuntu's own Python get it here.
RUN python3 -c 'import venv, ensurepip' || (apt-get update && apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*)
RUN python3 -m venv /opt/mmvit
COPY constraints.txt /tmp/
RUN pip install ${TORCH:+--extra-index-url "$TORCH"} -c /tmp/constraints.txt torch torchvision
COPY . /tmp/mmvit
# mmcv asks for opencv-python, which needs the system's libGL; the headless build of the same modules needs nothing.
RUN pip install -c /tmp/constraints.txt "/tmp/mmvit[$STACK,demo,tensorboard]" \
    && pip install --force-reinstall --no-deps -c /tmp/constraints.txt opencv-python-headless \
    && rm -r /tmp/mmvit
WORKDIR /work
ENTRYPOINT ["mmvit"]
CMD ["doctor"]
