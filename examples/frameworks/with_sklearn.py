"""scikit-learn: a pipeline, and one that goes on learning from what came since (partial_fit)."""

from fridges import rows
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nemesyst as nm

hub = nm.connect()
hub.put("fridges", rows(), key=("unit", "t"))
feed = hub.feed("fridges", inputs=["outside", "power"], targets=["air"], split=nm.Split(test=0.25), batch_size=256)

train = feed.train.to_numpy()
forest = make_pipeline(StandardScaler(), RandomForestRegressor(20, max_depth=6, random_state=0))
forest.fit(train["x"], train["y"].ravel())
test = feed.test.to_numpy()
score = float(forest.score(test["x"], test["y"].ravel()))
version = hub.models.save(forest, "air-forest", feed=feed, metrics={"r2": score})
hub.models.promote(version.ref, "champion")

elsewhere = nm.connect()  # any node that reaches the database
champion = elsewhere.models.load("air-forest@champion", verify=True)  # needs no code of yours, and runs none
print(version, "r2", round(score, 3), "predicts", champion.predict(test["x"][:4]).shape)

online = SGDRegressor(random_state=0)
for batch in feed.train:
    online.partial_fit(batch["x"], batch["y"].ravel())
first = hub.models.save(online, "air-online", feed=feed)
again = elsewhere.models.load(first.ref)
for batch in feed.train:
    again.partial_fit(batch["x"], batch["y"].ravel())
print(first, "->", elsewhere.models.save(again, "air-online", feed=feed, parent=first))
