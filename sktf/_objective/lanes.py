"""Rows of factors as vectors in compiled code: whole cache lines are loaded and stored at once."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

# Sums over components may be reassociated (the compiler then uses vector registers); the
# order is fixed at compile time, so the bits do not depend on the number of threads.
SUMS = ("reassoc", "contract", "nsz")
# Bytes of a cache line.
LINE = 64
_INT = ir.IntType(64)


class _Lanes(types.Type):
    """Numbers of one or more cache lines of a row, held in vector registers.

    Loops over single numbers would be compiled with checks for overlap and with remainders, which
    take half of the time at 30 components.
    """

    def __init__(self, dtype, n_lines):
        self.dtype, self.width = dtype, 8 * LINE * n_lines // dtype.bitwidth
        super().__init__(f"Lanes({dtype}, {n_lines})")


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, lanes):
        number = manager.lookup(lanes.dtype).get_value_type()
        super().__init__(manager, lanes, ir.VectorType(number, lanes.width))


def _address(context, builder, matrix, lanes, arguments):
    """Return where lanes of a matrix lie: in which row, and from which of its cache lines on."""
    array = context.make_array(matrix)(context, builder, arguments[0])
    row, line = (builder.sext(n, _INT) if n.type.width < 64 else n for n in arguments[1:3])
    first = builder.mul(line, _INT(_Lanes(lanes.dtype, 1).width))
    first = builder.add(first, builder.mul(row, builder.extract_value(array.shape, 1)))
    vector = context.get_value_type(lanes)
    return builder.bitcast(builder.gep(array.data, [first]), vector.as_pointer())


@intrinsic(prefer_literal=True)
def load(_, matrix, row, line, n_lines):
    """Return ``n_lines`` cache lines of a row of a matrix, from the given line on."""
    lanes = _Lanes(matrix.dtype, n_lines.literal_value)

    def generate(context, builder, signature, arguments):
        address = _address(context, builder, matrix, lanes, arguments)
        return builder.load(address, align=lanes.dtype.bitwidth // 8)

    return lanes(matrix, row, line, n_lines), generate


@intrinsic
def store(_, matrix, row, line, lanes):
    """Write lanes to a row of a matrix, from the given line on."""

    def generate(context, builder, signature, arguments):
        address = _address(context, builder, matrix, lanes, arguments)
        builder.store(arguments[3], address, align=lanes.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(matrix, row, line, lanes), generate


@intrinsic(prefer_literal=True)
def spread(_, number, n_lines):
    """Return the number in all lanes of ``n_lines`` cache lines."""
    lanes = _Lanes(number, n_lines.literal_value)

    def generate(context, builder, signature, arguments):
        vector = ir.Constant(context.get_value_type(lanes), ir.Undefined)
        for lane in range(lanes.width):
            vector = builder.insert_element(vector, arguments[0], _INT(lane))
        return vector

    return lanes(number, n_lines), generate


@intrinsic
def plus_product(_, x, y, z):
    """Return ``x + y z``, lane by lane."""

    def generate(context, builder, signature, arguments):
        x, y, z = arguments
        return builder.fadd(x, builder.fmul(y, z, flags=SUMS), flags=SUMS)

    return x(x, y, z), generate


@intrinsic
def total(_, x):
    """Return the sum over all lanes."""

    def generate(context, builder, signature, arguments):
        vector = arguments[0].type
        kind = ir.FunctionType(vector.element, [vector.element, vector])
        name = f"llvm.vector.reduce.fadd.v{x.width}f{x.dtype.bitwidth}"
        total = builder.module.declare_intrinsic(name, (), kind)
        return builder.call(total, [vector.element(0.0), arguments[0]], fastmath=SUMS)

    return x.dtype(x), generate


def whole_lines(n_blocks, n_rows, n_components, dtype):
    """Return blocks of zeros, every row as many whole cache lines as hold ``n_components``."""
    line, n_rows = LINE, int(n_rows)
    width = -(-n_components * dtype.itemsize // line) * line
    memory = np.zeros(n_blocks * n_rows * width + line, np.uint8)
    start = -memory.ctypes.data % line
    memory = memory[start : start + n_blocks * n_rows * width]
    return memory.view(dtype).reshape(n_blocks, n_rows, -1)
