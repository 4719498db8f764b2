"""Data: from radiographs on a disk to samples that a hospital registers in Substra."""

from helpers.data.cache import cache_folder as cache_folder
from helpers.data.dataset import ChestXrayDataset as ChestXrayDataset
from helpers.data.dataset import PatientDataset as PatientDataset
from helpers.data.dataset import WeightedChestXrayDataset as WeightedChestXrayDataset
from helpers.data.fetch import fetch_pneumoniamnist as fetch_pneumoniamnist
from helpers.data.hospital_films import HospitalFilms as HospitalFilms
from helpers.data.hospital_films import set_up_hospitals as set_up_hospitals
from helpers.data.hospitals import assign_hospitals as assign_hospitals
from helpers.data.hospitals import check_hospitals as check_hospitals
from helpers.data.hospitals import check_no_leak as check_no_leak
from helpers.data.hospitals import count_hospitals as count_hospitals
from helpers.data.hospitals import make_hospitals as make_hospitals
from helpers.data.hospitals import shuffle_hospitals as shuffle_hospitals
from helpers.data.hospitals import split_patients as split_patients
from helpers.data.images import read_image as read_image
from helpers.data.images import resize_image as resize_image
from helpers.data.masks import read_masks as read_masks
from helpers.data.radiographs import Radiographs as Radiographs
from helpers.data.radiographs import read_radiographs as read_radiographs
from helpers.data.radiographs import read_table as read_table
from helpers.data.report import Report as Report
from helpers.data.samples import prepare_samples as prepare_samples
from helpers.data.samples import verify_sample as verify_sample
from helpers.data.synthetic import make_radiographs as make_radiographs
from helpers.data.tasks import TASKS as TASKS
from helpers.data.tasks import label_films as label_films
