# %% [markdown] minutes=2
# # 00 · A demo lesson
#
# {{minutes}}
#
# ## What you will be able to do
#
# - **double** a number
# - **halve** it

# %%
import matplotlib.pyplot as plt

from valuelab.course import check, claim, quiz, show

# %% exercise="90.1" function="valuelab.course.checks.lesson_90.double" minutes=3 stars=2

# %%
double = check("90.1", double)

# %%
claim("twice two is four", double(2) == 4)
print(double(21))

# %% exercise="90.2" minutes=1 stars=1
def half(x):
    """Half of x."""
    ### BEGIN SOLUTION
    return x / 2
    ### END SOLUTION

# %%
half = check("90.2", half)

# %%
fig, ax = plt.subplots()
ax.plot([1, 2], [double(1), double(2)])
show(fig, f"Twice two is {double(2):.1f}.")

# %% tags=["nbval-ignore-output"]
import time

print(time.time_ns())

# %% tags=["widget"]
from ipywidgets import interact

interact(lambda x=1.0: print(double(x)), x=(0.0, 2.0))

# %%
quiz("What is twice three?", [("six", True, "3 + 3"), ("nine", False, "three times three is the square")])

# %% [markdown] tags=["instructor"]
# Only the instructor reads this.
