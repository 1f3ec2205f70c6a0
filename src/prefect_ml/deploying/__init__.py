"""Where a served model runs: images, Kubernetes, Ray Serve and SageMaker, each in a module of its own."""
