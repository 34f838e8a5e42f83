"""What tests share: fakes, small files, servers, killers."""
