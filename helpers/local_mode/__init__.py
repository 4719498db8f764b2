"""The federation on one machine: tasks that start quickly, results as a table, no leftovers."""

from helpers.local_mode.clean_up import remove_local_files as remove_local_files
from helpers.local_mode.costs import average_costs as average_costs
from helpers.local_mode.costs import count_tasks as count_tasks
from helpers.local_mode.costs import predict_tasks as predict_tasks
from helpers.local_mode.costs import sum_costs as sum_costs
from helpers.local_mode.costs import tidy_costs as tidy_costs
from helpers.local_mode.federation import Federation as Federation
from helpers.local_mode.fork_server import start_server as start_server
from helpers.local_mode.records import tabulate_tasks as tabulate_tasks
from helpers.local_mode.runner import TaskRunner as TaskRunner
from helpers.local_mode.runner import run_tasks_fast as run_tasks_fast
from helpers.local_mode.spawner import TaskError as TaskError
from helpers.local_mode.store import TaskStore as TaskStore
from helpers.local_mode.training import Trained as Trained
from helpers.local_mode.training import train_and_score as train_and_score
from helpers.local_mode.training import train_best as train_best
