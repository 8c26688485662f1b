"""The Python code that a message's template becomes: Jinja's, with what a mail does a hundred times made short.

Placing a value is one call of the sandbox instead of three and makes no Markup only to join it to a text; looking into
a plain dict is a subscript and asks the sandbox only when it is no dict or has no such key. What may be looked into,
printed and counted stays the sandbox' decision.
"""

from __future__ import annotations

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame

_SHOWN = ("shown_in_text", "shown_in_html")  #: by whether the file is escaped


class MessageCode(CodeGenerator):
    """For environments that have the functions of _SHOWN: a value in, the text to print out."""

    def write_commons(self) -> None:
        """Give every function of the template what it calls for each value."""
        super().write_commons()
        for name in _SHOWN:
            self.writeline(f"{name} = environment.{name}")

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> None:
        self.write(f"{_SHOWN[bool(frame.eval_ctx.autoescape)]}(")

    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo) -> None:
        self.write(")")

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:
        """Look into what a name holds; what else can stand before the dot is Jinja's usual way."""
        if not isinstance(node.node, nodes.Name):
            super().visit_Getattr(node, frame)
            return
        held = frame.symbols.ref(node.node.name)
        self.write(f"({held}[{node.attr!r}] if type({held}) is dict and {node.attr!r} in {held} else ")
        super().visit_Getattr(node, frame)
        self.write(")")
