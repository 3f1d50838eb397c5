//! What surrounds the library: programs in C and other languages, ONNX Runtime's library, the network, hostile input.

mod bindings;
mod c_tests;
mod corpus;
mod generate;
mod offline;
mod runtimes;
