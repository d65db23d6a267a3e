"""Pages of buying."""

from django.urls import path

from packs import views

urlpatterns = [
    path("buy/", views.buy, name="buy"),
    path("buy/cart/", views.change_cart, name="change-cart"),
    path("buy/confirm/", views.confirm, name="confirm"),
    path("orders/", views.orders, name="orders"),
    path("orders/<int:pk>/", views.order, name="order"),
    path("billing-mode/", views.billing_mode, name="billing-mode"),
    path("tariff/", views.tariff, name="tariff"),
]
