"""XGBoost: boosted trees, stored, and boosted further on another node."""

import xgboost
from fridges import rows

import nemesyst as nm

hub = nm.connect()
hub.put("fridges", rows(), key=("unit", "t"))
feed = hub.feed("fridges", inputs=["outside", "power"], targets=["air"], split=nm.Split(test=0.25))

train, test = feed.train.to_numpy(), feed.test.to_numpy()
model = xgboost.XGBRegressor(n_estimators=20, max_depth=4, n_jobs=1)
model.fit(train["x"], train["y"].ravel())
score = float(model.score(test["x"], test["y"].ravel()))
version = hub.models.save(model, "air-boosted", feed=feed, metrics={"r2": score})
hub.models.promote(version.ref, "champion")

elsewhere = nm.connect()  # any node that reaches the database
champion = elsewhere.models.load("air-boosted@champion", verify=True)
print(version, "r2", round(score, 3), "predicts", champion.predict(test["x"][:4]).shape)

champion.fit(train["x"], train["y"].ravel(), xgb_model=champion.get_booster())  # 20 rounds more
more = elsewhere.models.save(champion, "air-boosted", feed=feed, parent=version)
print(version, "->", more, "with", champion.get_booster().num_boosted_rounds(), "rounds")
