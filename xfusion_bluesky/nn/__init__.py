"""What neural backends share. Its modules import torch: import them where they are used."""
