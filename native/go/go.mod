module pyfnn/native/go

go 1.18
