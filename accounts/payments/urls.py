"""Pages of paying."""

from django.urls import path

from accounts.payments import sandbox_views, views

urlpatterns = [
    path("top-up/", views.top_up, name="top-up"),
    path("payments/", views.payments, name="payments"),
    path("payments/notify/<slug:gateway>/", views.notify, name="payment-notify"),
    path("payments/<slug:number>/", views.payment, name="payment"),
    path("payments/<slug:number>/pay/", views.pay, name="pay"),
    path("payments/<slug:number>/return/", views.returned, name="payment-return"),
    path("payments/<slug:number>/cancel/", views.cancel, name="cancel-payment"),
    path("sandbox/cashier/<slug:number>/", sandbox_views.cashier, name="sandbox-cashier"),
]
