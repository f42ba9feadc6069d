"""scikit-learn's callback API, or a stand-in where scikit-learn is older than 1.9."""

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
except ImportError:

    class _NoContext:
        def call_on_fit_task_begin(self, **kwargs):
            return self

        def call_on_fit_task_end(self, **kwargs):
            return False

        def subcontext(self, **kwargs):
            return self

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """A mixin whose callback contexts do nothing."""

        def _init_callback_context(self, **kwargs):
            return _NoContext()
