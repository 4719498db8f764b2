"""Phantom: synthetic patients, and the physics of their chest films."""

from helpers.phantom.population import HOSPITALS as HOSPITALS
from helpers.phantom.population import Hospital as Hospital
from helpers.phantom.thorax import project_chest as project_chest
