"""The federation on one machine: tasks that start at once, results as a table, a clean end."""

from helpers.local_mode.clean_up import remove_local_files as remove_local_files
from helpers.local_mode.federation import Federation as Federation
from helpers.local_mode.spawner import TaskError as TaskError
from helpers.local_mode.spawner import run_tasks_fast as run_tasks_fast
