"""Phantom: invented patients, and the physics that turns them into chest films."""

from helpers.phantom.population import HOSPITALS as HOSPITALS
from helpers.phantom.population import Hospital as Hospital
from helpers.phantom.thorax import project_chest as project_chest
