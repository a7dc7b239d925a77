module example.com/go-partner

go 1.27
