# SPDX-License-Identifier: MIT
from typing import Final

PAGE_SIZE: Final[int]
