"""One primitive in LLVM's own vectors: sums of rows times complex weights, in registers.

Plain loops over arrays that might overlap cost more in checks than in arithmetic on rows as short as these.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 16  # float32, the widest registers; on others LLVM takes several
WIDE = 2 * LANES  # columns that add_real_rows takes at once
TOGETHER = 4  # vectors that add_real_rows_together takes
_UNROLLED = 2
_FAST = ("contract", "reassoc", "nsz")
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_ZERO = ir.Constant(_VECTOR, [ir.Constant(ir.FloatType(), 0.0)] * LANES)
_intrinsic: Any = intrinsic


@_intrinsic
def add_windows(
    typingctx: Any,
    re: Any,
    im: Any,
    offset: Any,
    weight_re: Any,
    weight_im: Any,
    first: Any,
    last: Any,
    column: Any,
    total: Any,
) -> Any:
    """total[:, column:column + LANES] += sum of weight[k] (re + i im)[offset[k] + column...], k in first...last - 1.

    re, im, weights and total (2, width) float32, offset int64, all C-contiguous; re and im are read as one line each.
    No index is checked.
    """
    signature = types.void(re, im, offset, weight_re, weight_im, types.intp, types.intp, types.intp, total)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        re, im, offset, weight_re, weight_im, row = _arrays(context, builder, sig, args)
        first, last, column = args[5:8]
        row_width = cgutils.unpack_tuple(builder, row.shape, 2)[1]

        def load(data: Any, index: Any) -> Any:
            return builder.load(_vector_at(builder, data, index), align=4)

        totals = [[cgutils.alloca_once_value(builder, _ZERO) for _ in range(4)] for _ in range(_UNROLLED)]

        def add(k: Any, part: int) -> None:
            place = builder.add(builder.load(builder.gep(offset.data, [k])), column)
            v, u = load(re.data, place), load(im.data, place)
            p, q = _spread(builder, weight_re.data, k), _spread(builder, weight_im.data, k)
            for total, (a, b) in zip(totals[part], ((v, p), (u, q), (v, q), (u, p)), strict=True):
                _add_product(builder, total, a, b)

        _unrolled(builder, first, last, _UNROLLED, add)
        sums = [[builder.load(total) for total in part] for part in totals]
        for half, (plus, other, combine) in enumerate(((0, 1, builder.fsub), (2, 3, builder.fadd))):
            start = builder.mul(ir.Constant(column.type, half), row_width)
            place = _vector_at(builder, row.data, builder.add(start, column))
            value = builder.load(place, align=4)
            for found in sums:
                value = builder.fadd(value, combine(found[plus], found[other], flags=_FAST), flags=_FAST)
            builder.store(value, place, align=4)
        return context.get_dummy_value()

    return signature, codegen


@_intrinsic
def add_real_rows(typingctx: Any, rows: Any, weights: Any, last: Any, column: Any, total: Any) -> Any:
    """total[column:column + WIDE] += sum over k < last of weights[k] rows[k, same columns].

    rows (K, width), total (width,) and weights (K,) float32, C-contiguous. No index is checked.
    """
    return _add_products(rows, weights, total, 1)


@_intrinsic
def add_real_rows_together(typingctx: Any, rows: Any, weights: Any, last: Any, column: Any, total: Any) -> Any:
    """:func:`add_real_rows` for weights (TOGETHER, K) and total (TOGETHER, width), reading the rows once."""
    return _add_products(rows, weights, total, TOGETHER)


def _add_products(rows: Any, weights: Any, total: Any, n_vectors: int) -> tuple[Any, Any]:
    signature = types.void(rows, weights, types.intp, types.intp, total)
    n_chains = 4 // n_vectors  # with the two parts of WIDE eight sums at a time, which hides the latency of one

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        rows, weights, total = _arrays(context, builder, sig, args)
        last, column = args[2:4]
        width = cgutils.unpack_tuple(builder, rows.shape, 2)[1]
        parts = [ir.Constant(column.type, LANES * part) for part in range(WIDE // LANES)]
        vectors = [ir.Constant(column.type, vector) for vector in range(n_vectors)]
        stride = cgutils.unpack_tuple(builder, weights.shape)[-1]
        first_weights = [builder.mul(vector, stride) for vector in vectors]
        starts = [builder.add(builder.mul(vector, width), column) for vector in vectors]
        places = [[_vector_at(builder, total.data, builder.add(start, part)) for part in parts] for start in starts]
        chains = [
            [[cgutils.alloca_once_value(builder, _ZERO) for _ in parts] for _ in vectors] for _ in range(n_chains)
        ]

        def add(k: Any, chain: int) -> None:
            first = builder.add(builder.mul(k, width), column)
            values = [builder.load(_vector_at(builder, rows.data, builder.add(first, part)), align=4) for part in parts]
            for start, of_vector in zip(first_weights, chains[chain], strict=True):
                weight = _spread(builder, weights.data, builder.add(start, k))
                for value, running in zip(values, of_vector, strict=True):
                    _add_product(builder, running, value, weight)

        _unrolled(builder, ir.Constant(column.type, 0), last, n_chains, add)
        for vector, row in enumerate(places):
            for part, place in enumerate(row):
                value = builder.load(place, align=4)
                for sums in chains:
                    value = builder.fadd(value, builder.load(sums[vector][part]), flags=_FAST)
                builder.store(value, place, align=4)
        return context.get_dummy_value()

    return signature, codegen


def _unrolled(builder: Any, first: Any, last: Any, n_parts: int, add: Callable[[Any, int], None]) -> None:
    """add(k, part) for k in first...last - 1: n_parts at a time, each into its own, what is left into the first."""
    step = ir.Constant(last.type, n_parts)
    whole = builder.sub(last, builder.srem(builder.sub(last, first), step))
    with cgutils.for_range_slice(builder, first, whole, step, inc=True) as (k, _):
        for part in range(n_parts):
            add(builder.add(k, ir.Constant(last.type, part)), part)
    with cgutils.for_range_slice(builder, whole, last, ir.Constant(last.type, 1), inc=True) as (k, _):
        add(k, 0)


def _add_product(builder: Any, total: Any, a: Any, b: Any) -> None:
    """total += a b, of vectors."""
    product = builder.fmul(a, b, flags=_FAST)
    builder.store(builder.fadd(builder.load(total), product, flags=_FAST), total)


def _vector_at(builder: Any, data: Any, index: Any) -> Any:
    """A pointer to LANES numbers from an index on."""
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


def _spread(builder: Any, data: Any, index: Any) -> Any:
    """One number in all lanes."""
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    lane = builder.insert_element(undefined, builder.load(builder.gep(data, [index])), ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(lane, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _arrays(context: Any, builder: Any, sig: Any, args: Any) -> list[Any]:
    """The arguments that are arrays."""
    return [
        context.make_array(kind)(context, builder, value)
        for kind, value in zip(sig.args, args, strict=True)
        if isinstance(kind, types.Array)
    ]
