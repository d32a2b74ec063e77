# Runs exported models, without torch: docker build -t mmvit-runner -f docker/runner.Dockerfile .
# docker run --rm --user "$(id -u)" -v "$PWD:/data" mmvit-runner model.onnx photos/ --out predictions
FROM python:3.11-slim
RUN pip install --no-cache-dir numpy opencv-python-headless onnxruntime supervision
COPY . /tmp/mmvit
RUN pip install --no-cache-dir --no-deps /tmp/mmvit && rm -r /tmp/mmvit && useradd --create-home runner
USER runner
WORKDIR /data
ENTRYPOINT ["mmvit", "predict"]
