"""What schemathesis must know to make requests whose form is right."""

import schemathesis
from hypothesis import strategies as st

# a cursor is opaque: the empty one is the beginning of every list, others come out of answers
schemathesis.openapi.format("cursor", st.just(""))
