"""Many things, of which one is in memory at a time: each is read anew when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

_T = TypeVar("_T")


class Lazily(Sequence[_T], Generic[_T]):
    """What ``read`` makes of each of the ``keys``; it keeps none of it."""

    def __init__(self, keys: Sequence[Any], read: Callable[[Any], _T]) -> None:
        self._keys = keys
        self._read = read

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> _T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[_T]: ...
    def __getitem__(self, index: int | slice) -> _T | Sequence[_T]:
        if isinstance(index, slice):
            return Lazily(self._keys[index], self._read)
        return self._read(self._keys[index])

    def __iter__(self) -> Iterator[_T]:
        return map(self._read, self._keys)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


class Again(Iterable[_T], Generic[_T]):
    """What ``start`` yields, from the beginning each time that it is gone through."""

    def __init__(self, start: Callable[[], Iterator[_T]]) -> None:
        self._start = start

    def __iter__(self) -> Iterator[_T]:
        return self._start()
