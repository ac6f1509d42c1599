"""
Can a model draw rows of a table with numbers and categories?
=============================================================

``VAE`` reads a frame as it is: each column gets its own likelihood, chosen by its type and its values. This is wine,
with the cultivar as a column of text. Drawn rows have the columns, the dtypes, and the categories of the real ones; the
question is whether they also have their dependences.
"""

# %%
import matplotlib.pyplot as plt
from sklearn.datasets import load_wine

from skdgm import VAE
from skdgm.display import PairPlotDisplay

wine = load_wine(as_frame=True)
table = wine.data[["alcohol", "flavanoids", "color_intensity", "magnesium"]]
table = table.assign(cultivar=wine.target.map({0: "Barolo", 1: "Grignolino", 2: "Barbera"}))
vae = VAE(4, random_state=0).fit(table)
for column, likelihood, reason in vae.likelihoods_:
    print(f"{column:16s} {likelihood:12s} {reason}")

# %%
# As many rows as the table has, drawn from the model.
print(vae.sample(5, random_state=0))

# %%
# Each panel shows both tables. In the model, the columns of a row are independent given its code: all dependences come
# from the code.
display = PairPlotDisplay.from_estimator(vae, table, random_state=0)
display.figure_.suptitle("wine: real rows, and rows drawn from a VAE")
plt.show()
