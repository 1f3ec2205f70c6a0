from sklearn.preprocessing import StandardScaler


class Doubling(StandardScaler):
    def transform(self, data):
        return super().transform(data) * 2
