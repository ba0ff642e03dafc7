"""What may come from outside, for properties."""

from __future__ import annotations

from hypothesis import strategies as st

NUMBERLIKE = st.text(alphabet="0123456789+-.,eE_ xT:Z٣", max_size=25)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(alphabet=st.characters(), max_size=20)
    | NUMBERLIKE
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
