"""Public API of object detection (boxes, masks, keypoints): tasks, networks, data, metrics, callbacks and predictor."""

from lightning_coordconv.detection.average_precision import CocoAveragePrecision, KeypointAveragePrecision
from lightning_coordconv.detection.coco import CocoDetection
from lightning_coordconv.detection.coco_results import CocoResults
from lightning_coordconv.detection.data import (
    CocoDetectionDataModule,
    VocDetectionDataModule,
    YoloDetectionDataModule,
)
from lightning_coordconv.detection.field_of_mnist import FieldOfMnist
from lightning_coordconv.detection.field_of_mnist_data import FieldOfMnistDataModule
from lightning_coordconv.detection.figures import DetectionFigures
from lightning_coordconv.detection.image_files import ImageFiles
from lightning_coordconv.detection.image_frames import use_image_frames
from lightning_coordconv.detection.metrics import (
    AllPairsIoU,
    BestBoxIoU,
    ClosestIoU,
    MatchedIoU,
    TiedBestBoxIoU,
    TiedBestBoxIoUError,
)
from lightning_coordconv.detection.precision_recall import PrecisionRecallFigure
from lightning_coordconv.detection.predictor import Detection, DetectionPredictor, Detections, load
from lightning_coordconv.detection.region_proposal import DigitFasterRCNN, RegionProposalNet, ZeroToOne
from lightning_coordconv.detection.region_proposal_task import RegionProposal
from lightning_coordconv.detection.skeleton import Skeleton
from lightning_coordconv.detection.survey import surveys
from lightning_coordconv.detection.task import ObjectDetection
from lightning_coordconv.detection.torchvision_detectors import Detector
from lightning_coordconv.detection.voc_format import VocFolder
from lightning_coordconv.detection.yolo_format import YoloFolder

__all__ = [
    "AllPairsIoU",
    "BestBoxIoU",
    "ClosestIoU",
    "CocoAveragePrecision",
    "CocoDetection",
    "CocoDetectionDataModule",
    "CocoResults",
    "Detection",
    "DetectionFigures",
    "DetectionPredictor",
    "Detections",
    "Detector",
    "DigitFasterRCNN",
    "FieldOfMnist",
    "FieldOfMnistDataModule",
    "ImageFiles",
    "KeypointAveragePrecision",
    "MatchedIoU",
    "ObjectDetection",
    "PrecisionRecallFigure",
    "RegionProposal",
    "RegionProposalNet",
    "Skeleton",
    "TiedBestBoxIoU",
    "TiedBestBoxIoUError",
    "VocDetectionDataModule",
    "VocFolder",
    "YoloDetectionDataModule",
    "YoloFolder",
    "ZeroToOne",
    "load",
    "surveys",
    "use_image_frames",
]
