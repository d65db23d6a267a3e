"""Pages of buying."""

from django.urls import path

from packs import checkout_views, views

urlpatterns = [
    path("buy/cart/", views.change_cart, name="change-cart"),
    path("buy/confirm/", views.confirm, name="confirm"),
    path("checkout/", checkout_views.begin, name="begin-checkout"),
    path("checkout/<int:pk>/", checkout_views.show, name="checkout"),
    path("checkout/<int:pk>/pay/", checkout_views.pay_rest, name="pay-checkout"),
    path("checkout/<int:pk>/cancel/", checkout_views.cancel, name="cancel-checkout"),
    path("orders/", views.orders, name="orders"),
    path("orders/<int:pk>/", views.order, name="order"),
    path("tariff/", views.tariff, name="tariff"),
]
