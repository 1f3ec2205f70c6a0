import mlflow
from near_by import FACTOR


class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input["a"] * FACTOR


mlflow.models.set_model(Model())
