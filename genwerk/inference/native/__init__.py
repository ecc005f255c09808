"""One step of the decoder in C++: built where there is a compiler, chosen for the processor it runs on."""
