"""Who a session belongs to: the login together with its account, which every page asks for."""

from django.contrib.auth.backends import ModelBackend

from accounts.models import User

BACKEND = "accounts.login_backend.LoginBackend"


class LoginBackend(ModelBackend):
    """Django's own, with the account read in the same statement."""

    def get_user(self, user_id: int) -> User | None:
        """The login of that id, while it may sign in."""
        user = User.objects.select_related("account").filter(pk=user_id).first()
        return user if user is not None and self.user_can_authenticate(user) else None
