"""Faster products with the sparse matrices that graph models hold, without touching the models.

RecBole's graph models multiply by an adjacency in coordinate format; its gradient is a transposed product that PyTorch
does in several passes. The matrix is constant, so both products can be made from compressed rows, converted once. Most
of these models then average their layers, and the gradient of a mean, equal for every layer, need not be written out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary


class WholeSparseProducts(TorchFunctionMode):
    """Within this context, `torch.sparse.mm` multiplies in the precision of its matrix, whatever autocast lowers.

    On a CPU PyTorch has no product of sparse matrices in half precision; a sum over neighbours is better in whole, too.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        arguments: tuple[Any, ...] = (),
        named: dict[str, Any] | None = None,
    ) -> Any:
        if function is not torch.sparse.mm or named or len(arguments) != 2 or arguments[1].layout != torch.strided:
            return function(*arguments, **(named or {}))
        matrix, dense = arguments
        with torch.autocast(dense.device.type, enabled=False):
            return self._product(matrix, dense.to(matrix.dtype))

    def _product(self, matrix: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
        return torch.sparse.mm(matrix, dense)


class FastSparseProducts(WholeSparseProducts):
    """Within this context, `torch.sparse.mm` multiplies by constant COO matrices as compressed rows, and `torch.mean`
    over one dimension of a dense tensor hands back views as gradients.

    The result differs from PyTorch's by rounding only. A matrix is converted when it is met the second time, so one
    that is made anew for every step (sparse dropout) is left alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._converted: WeakTensorKeyDictionary = WeakTensorKeyDictionary()

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        arguments: tuple[Any, ...] = (),
        named: dict[str, Any] | None = None,
    ) -> Any:
        if function is torch.mean and named is not None and len(arguments) == 1 and named.keys() == {"dim"}:
            values, dimension = arguments[0], named["dim"]
            if isinstance(dimension, int) and values.layout == torch.strided:
                return _Mean.apply(values, dimension)
        return super().__torch_function__(function, types, arguments, named)

    def _product(self, matrix: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
        constant = matrix.layout == torch.sparse_coo and not matrix.requires_grad
        rows = self._rows(matrix) if constant else None
        return super()._product(matrix, dense) if rows is None else _ConstantProduct.apply(dense, *rows)

    def _rows(self, matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The matrix and its transpose as compressed rows; None when it is met for the first time."""
        if matrix not in self._converted:
            self._converted[matrix] = None
        elif self._converted[matrix] is None:
            with torch.no_grad():
                self._converted[matrix] = _compressed(matrix), _compressed(matrix.t())
        return self._converted[matrix]


def holds_sparse_matrices(model: nn.Module) -> bool:
    """Whether a model keeps constant matrices in coordinate format."""
    kept = (value for module in model.modules() for value in vars(module).values())
    return any(isinstance(value, torch.Tensor) and value.layout == torch.sparse_coo for value in kept)


def _compressed(matrix: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch calls compressed rows a beta feature
        rows = matrix.coalesce().to_sparse_csr()
    if max(matrix.shape) >= 2**31 or rows.values().numel() >= 2**31:
        return rows
    # Half the memory traffic for positions.
    return torch.sparse_csr_tensor(
        rows.crow_indices().int(), rows.col_indices().int(), rows.values(), matrix.shape, check_invariants=False
    )


class _ConstantProduct(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, dense: torch.Tensor, matrix: torch.Tensor, transposed: torch.Tensor) -> torch.Tensor:
        context.transposed = transposed
        return _multiplied(matrix, dense)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return _multiplied(context.transposed, gradient), None, None


def _multiplied(matrix: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
    if not dense.is_cpu:
        return matrix @ dense
    result = dense.new_empty(matrix.shape[0], dense.shape[1])
    return torch.addmm(result, matrix, dense, beta=0, out=result)  # `@` fills zeros and copies them first


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: torch.Tensor, dimension: int) -> torch.Tensor:
        context.shape, context.dimension = values.shape, dimension
        return values.mean(dim=dimension)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        share = gradient / context.shape[context.dimension]
        return share.unsqueeze(context.dimension).expand(context.shape), None
