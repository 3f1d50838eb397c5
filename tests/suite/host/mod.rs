//! What surrounds the library: programs in C and other languages, ONNX Runtime's library, the network, hostile input.

mod bindings;
mod c_tests;
mod conversations;
mod corpus;
mod cpp;
mod generate;
mod generate_controls;
mod offline;
mod runtimes;
