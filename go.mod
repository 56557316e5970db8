module github.com/openmessaging/openmessaging-go

go 1.25.0
