"""The classes of known sets of street scenes, as their makers published them."""

from plora.streams.class_map import ClassMap, as_id
from plora.streams.labelled_images import IGNORED

_CITYSCAPES = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
_CITYSCAPES_IDS = 34
"""0 to 33; the last one, −1, is drawn into no mask."""

CITYSCAPES = ClassMap(
    tuple(_CITYSCAPES),
    tuple((number,) for number in _CITYSCAPES.values()),
    (*(number for number in range(_CITYSCAPES_IDS) if number not in _CITYSCAPES.values()), IGNORED),
)
"""The 19 classes of Cityscapes in masks of `labelIds`; the others of its ids are ignored.

Source: Cordts et al. 2016 (arXiv 1604.01685); mcordts/cityscapesScripts, `helpers/labels.py`.
"""

_CAMVID = {
    "Sky": {"Sky": (128, 128, 128)},
    "Building": {
        "Archway": (192, 0, 128),
        "Bridge": (0, 128, 64),
        "Building": (128, 0, 0),
        "Tunnel": (64, 0, 64),
        "Wall": (64, 192, 0),
    },
    "Pole": {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    "Road": {"LaneMkgsDriv": (128, 0, 192), "LaneMkgsNonDriv": (192, 0, 64), "Road": (128, 64, 128)},
    "Pavement": {"ParkingBlock": (64, 192, 128), "RoadShoulder": (128, 128, 192), "Sidewalk": (0, 0, 192)},
    "Tree": {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    "SignSymbol": {"Misc_Text": (128, 128, 64), "SignSymbol": (192, 128, 128), "TrafficLight": (0, 64, 64)},
    "Fence": {"Fence": (64, 64, 128)},
    "Car": {
        "Car": (64, 0, 128),
        "OtherMoving": (128, 64, 64),
        "SUVPickupTruck": (64, 128, 192),
        "Train": (192, 64, 128),
        "Truck_Bus": (192, 128, 192),
    },
    "Pedestrian": {
        "Animal": (64, 128, 64),
        "CartLuggagePram": (64, 0, 192),
        "Child": (192, 128, 64),
        "Pedestrian": (64, 64, 0),
    },
    "Bicyclist": {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
}
_VOID = (0, 0, 0)

CAMVID_COLOURS = {
    11: ClassMap(
        tuple(_CAMVID),
        tuple(tuple(map(as_id, own.values())) for own in _CAMVID.values()),
        (as_id(_VOID),),
        coloured=True,
    ),
    32: ClassMap(
        tuple(sorted(name for own in _CAMVID.values() for name in own)),
        tuple((as_id(colour),) for _, colour in sorted(pair for own in _CAMVID.values() for pair in own.items())),
        (as_id(_VOID),),
        coloured=True,
    ),
}
"""The classes of CamVid in masks of colours, by their number: the 32 that its makers named (of which Void is
ignored), or the 11 into which papers put them.

Source: Brostow et al. 2008, Semantic object classes in video; Sturgess et al. 2009 for the 11.
"""

CAMVID_IDS = ClassMap(tuple(_CAMVID), tuple((number,) for number in range(len(_CAMVID))), (len(_CAMVID),))
"""The 11 classes of CamVid in masks of ids, where 11 is Void.

Source: Badrinarayanan et al. 2015 (arXiv 1511.00561), the copy of its code.
"""
