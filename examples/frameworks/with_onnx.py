"""ONNX: a model of another framework, which a device runs with onnxruntime and numpy alone."""

import skl2onnx  # type: ignore[import-untyped]
from fridges import rows
from sklearn.linear_model import LinearRegression

import nemesyst as nm

hub = nm.connect()
hub.put("fridges", rows(), key=("unit", "t"))
feed = hub.feed("fridges", inputs=["outside", "power"], targets=["air"], split=nm.Split(test=0.25))

train, test = feed.train.to_numpy(), feed.test.to_numpy()
estimator = LinearRegression().fit(train["x"], train["y"])
proto = skl2onnx.to_onnx(estimator, train["x"][:1])  # or onnx.load("model.onnx"), wherever it comes from
version = hub.models.save(proto, "air-onnx", feed=feed)
hub.models.promote(version.ref, "champion")

# A model can also be stored in its own form and as ONNX at once; the two are compared before anything is stored.
both = hub.models.save(estimator, "air-linear", feed=feed, also="onnx")

device = nm.connect()  # there: pip install nemesyst onnxruntime
champion = device.models.load("air-onnx@champion", verify=True)
linear = device.models.load(both.ref, form="onnx")
print(version, champion.inputs, "->", champion.outputs)
for model in (champion, linear):
    (output,) = model.run(test["x"][:4]).values()
    print(output.shape, float(abs(output.ravel() - estimator.predict(test["x"][:4]).ravel()).max()) < 1e-4)
