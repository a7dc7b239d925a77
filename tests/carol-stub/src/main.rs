//! A stand-in for Carol, RAC, SmartLink and the provisioning services.
fn main() {}
